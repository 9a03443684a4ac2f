"""What runs need beyond a SQLite file: databases that machines share, and places of artifacts."""
