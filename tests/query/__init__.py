"""Tests of search, the catalog and SQL."""
