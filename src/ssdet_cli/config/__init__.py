"""Configuration: pydantic models, YAML with dotted overrides, shipped files."""
