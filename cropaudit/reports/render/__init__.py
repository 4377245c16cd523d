"""One document in many forms: terminal, HTML, JSON, JUnit."""
