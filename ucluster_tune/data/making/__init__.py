"""Data sets made: fetched, converted, written."""
