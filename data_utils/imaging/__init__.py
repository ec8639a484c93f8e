"""Image files and what can be seen in one picture: headers, decoding, metadata, the field of view, the hash."""
