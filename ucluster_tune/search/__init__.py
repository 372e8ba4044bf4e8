"""A study: suggestions, scheduling, tracking and the durable record of it all."""
