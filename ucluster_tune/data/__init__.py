"""Jets: features, parquet data sets, simulation, sharding over ranks."""
