"""Suites that models, readers, engines and launchers pass, and made-up data for tests; shipped for users."""
