"""What a study is: its record, and the files around it."""
