"""The paper's Tables 4 to 10 and figures 3 and 5, drawn again from saved results alone."""
