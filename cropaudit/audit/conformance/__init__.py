"""Conformance: does this pipeline do what the theorem assumes?"""
