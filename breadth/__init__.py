"""Whether the doctor passes a small random instance of every family of three libraries: `python -m breadth`."""
