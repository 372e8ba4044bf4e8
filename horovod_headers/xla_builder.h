// No code: see pyproject.toml beside this file.
