"""The page that answers what a search was for: one HTML file, its pictures and its tables."""
