"""Read a sweep's records and show them as a page, table, pictures or JSON. Nothing here measures or trains."""
