"""Programs that measure this code beside its peers; nothing in the product imports them. See README.md."""
