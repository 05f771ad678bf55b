"""Device types as data: one TOML file a product, one line a point. See README.md in this folder."""
