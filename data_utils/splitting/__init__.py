"""Around data_utils.splits: the search behind it, splits made by users, the lists on disk and the table on them."""
