"""Reading, checking, preparing and loading data; the leftmost room: it imports no other."""
