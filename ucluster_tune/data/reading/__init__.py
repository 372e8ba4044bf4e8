"""Data sets read: opened, selected, described, dealt to ranks."""
