"""What runs a weights file: one module for each library, each imported only when such a file is opened."""
