package identity

import (
	"unicode"
	"unicode/utf8"
)

// hidden are the characters that show nothing: those of formatting, zero-width
// and bidirectional ones among them, line and paragraph separators, and letters
// and symbols that are blank (Unicode's Default_Ignorable_Code_Point, and the
// blank pattern of Braille).
var hidden = []*unicode.RangeTable{unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector}

const (
	zeroWidthNonJoiner = '\u200c'
	zeroWidthJoiner    = '\u200d'
	blankBraille       = '\u2800'
)

// invisible reports whether a name has a character that shows nothing, wherever it
// is. Persian and Indic words need joiners, though, and Japanese names and emoji
// variation selectors: these are taken behind a visible character beyond ASCII,
// where they change what that looks like.
func invisible(name string) bool {
	last := rune(0) // the last visible one
	for i, r := range name {
		switch {
		case r < utf8.RuneSelf:
			last = r
		case joins(r):
			if last < utf8.RuneSelf || i == 0 {
				return true
			}
		case r == blankBraille, unicode.In(r, hidden...) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r):
			return true
		default:
			last = r
		}
	}
	return false
}

// joins reports whether r changes what its neighbours look like.
func joins(r rune) bool {
	return r == zeroWidthJoiner || r == zeroWidthNonJoiner || unicode.Is(unicode.Variation_Selector, r)
}
