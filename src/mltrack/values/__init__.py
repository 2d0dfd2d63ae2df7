"""What may be logged: scalars, columns of points, rich values, media, tables and datasets."""
