"""An independent reader of `.gav` 1.x, written from the text of `spec/gav.md` alone. Needs numpy and zstandard."""
