package zpages

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	flagz "k8s.io/apiserver/pkg/server/flagz/api/v1alpha1"
)

// ServeFlagz answers with the command line's flags, by name, in text or JSON. They must
// hold no secret.
func ServeFlagz(w http.ResponseWriter, r *http.Request, flags map[string]string) {
	if wantsJSON(r, "Flagz") {
		WriteJSON(w, &flagz.Flagz{
			TypeMeta: metav1.TypeMeta{Kind: "Flagz", APIVersion: zpagesVersion}, ObjectMeta: metav1.ObjectMeta{Name: componentName}, Flags: flags,
		})
		return
	}
	var b strings.Builder
	b.WriteString(pageHeader("flagz"))
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		fmt.Fprintf(&b, "%s=%s\n", name, flags[name])
	}
	writeText(w, b.String())
}
