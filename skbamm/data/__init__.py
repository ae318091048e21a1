"""From what users pass to validated rows: validation, folds, chunks of files, tables, tensors."""
