"""Files of users and ours: tables, arrays and YAML read with limits, and atomic writing."""
