package identity

import (
	"strings"
	"testing"
	"unicode"

	"k8s.io/apiserver/pkg/authentication/user"
)

func TestInvisibleCharacters(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want bool
	}{
		"ASCII":                         {"alice@example.com", false},
		"umlauts":                       {"j\u00fcrgen", false},
		"Chinese":                       {"\u5f20\u4f1f", false},
		"Persian, with a non-joiner":    {"\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", false},
		"Sinhala, with a joiner":        {"\u0dc1\u0dca\u200d\u0dbb\u0dd3", false},
		"emoji of several":              {"\U0001f469\u200d\U0001f4bb devs", false},
		"emoji with a selector":         {"ops \u2699\ufe0f", false},
		"Japanese, with a selector":     {"\u845b\U000e0100\u57ce", false},
		"Arabic number sign":            {"\u0600\u0661", false},
		"zero-width space":              {"ad\u200bmin", true},
		"zero-width space first":        {"\u200bsystem:masters", true},
		"zero-width space last":         {"admin\u200b", true},
		"byte order mark":               {"\ufeffadmin", true},
		"word joiner":                   {"ad\u2060min", true},
		"soft hyphen":                   {"ad\u00admin", true},
		"joiner between ASCII":          {"ad\u200dmin", true},
		"joiner first":                  {"\u200dadmin", true},
		"non-joiner last":               {"admin\u200c", true},
		"selector behind ASCII":         {"admin\ufe0f", true},
		"left-to-right mark":            {"admin\u200e", true},
		"right-to-left override":        {"\u202enimda", true},
		"isolate":                       {"a\u2066b\u2069", true},
		"line separator":                {"a\u2028b", true},
		"tag":                           {"admin\U000e0061", true},
		"Hangul filler":                 {"\u3164", true},
		"half-width Hangul filler":      {"admin\uffa0", true},
		"grapheme joiner":               {"a\u034fb", true},
		"Mongolian vowel separator":     {"a\u180eb", true},
		"blank Braille":                 {"admin\u2800", true},
		"invisible times":               {"a\u2062b", true},
		"interlinear annotation anchor": {"a\ufff9b", true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := invisible(tc.in); got != tc.want {
				t.Errorf("invisible(%+q) = %t", tc.in, got)
			}
			for what, u := range map[string]*user.DefaultInfo{
				"name": {Name: tc.in}, "UID": {Name: "a", UID: tc.in}, "group": {Name: "a", Groups: []string{tc.in}},
				"key": {Name: "a", Extra: map[string][]string{strings.ToLower(tc.in): {"v"}}},
			} {
				if err := Check(u); (err != nil) != tc.want {
					t.Errorf("%s %+q: got %v", what, tc.in, err)
				}
			}
		})
	}
	if err := Check(&user.DefaultInfo{Name: "a", Extra: map[string][]string{"k": {"a\u200bb"}}}); err != nil {
		t.Errorf("a value is no name: %v", err)
	}
}

// FuzzInvisible: two names that are taken and differ only in characters that
// show nothing differ behind a visible character beyond ASCII only.
func FuzzInvisible(f *testing.F) {
	for _, seed := range []string{"admin", "ad\u200bmin", "\u0645\u200c\u062e", "\U0001f469\u200d\U0001f4bb", "\ufeff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName("name", name) != nil {
			return
		}
		last := rune(0)
		for _, r := range name {
			if unicode.In(r, hidden...) && !unicode.Is(unicode.Prepended_Concatenation_Mark, r) {
				if last <= unicode.MaxASCII {
					t.Fatalf("%+q is taken", name)
				}
				continue
			}
			last = r
		}
	})
}
