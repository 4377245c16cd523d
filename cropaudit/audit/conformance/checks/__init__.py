"""The checks, one file each: from what was seen to tests of null hypotheses."""
