package requestinfo

import "testing"

func TestStreaming(t *testing.T) {
	const list = "/clusters/root/api/v1/configmaps"
	for name, tc := range map[string]struct {
		path, query string
		want        bool
	}{
		"a list":                    {list, "", false},
		"a watch":                   {list, "watch=true", true},
		"a watch, 1":                {list, "a=b&watch=1&c=d", true},
		"without a value":           {list, "watch", true},
		"an empty value":            {list, "watch=", true},
		"another value":             {list, "watch=yes", true},
		"false":                     {list, "watch=False", false},
		"0":                         {list, "watch=0", false},
		"the first counts":          {list, "watch=0&watch=1", false},
		"the first counts, on":      {list, "watch=1&watch=0", true},
		"the key escaped":           {list, "w%61tch=1", true},
		"the value escaped":         {list, "watch=%30", false},
		"beside what can't be read": {list, "x=%zz&watch=1", true},
		"can't be read itself":      {list, "watch=%zz", false},
		"with a semicolon":          {list, "watch=1;x", false},
		"another key":               {list, "watching=1&Watch=1&xwatch=1", false},
		"in a value":                {list, "labelSelector=watch%3D1", false},
		"logs":                      {list, "follow=true&tailLines=1", true},
		"the old form":              {"/clusters/root/api/v1/watch/configmaps", "", true},
		"the old form escaped":      {"/clusters/root/api/v1/w%61tch/configmaps", "", true},
		"something called watch":    {"/clusters/root/api/v1/namespaces/watch", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Streaming(tc.path, tc.query); got != tc.want {
				t.Errorf("Streaming(%q, %q) is %v", tc.path, tc.query, got)
			}
		})
	}
}
