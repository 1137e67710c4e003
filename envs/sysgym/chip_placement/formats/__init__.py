"""Files of chips: Circuit Training's netlists and placements, bookshelf, GSRC and MCNC."""
