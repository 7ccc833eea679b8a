"""Text: conversation -> ids and labels, as lists of ints, without torch; digests of lines and problems."""
