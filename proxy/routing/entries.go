package routing

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	yamlv3 "go.yaml.in/yaml/v3"
	"sigs.k8s.io/yaml"
)

// entryValues are the values of an entry's keys, read by the library that
// kcp-front-proxy reads its mapping file with: that resolves merge keys, takes
// numbers and booleans for strings, and keys in any case.
type entryValues struct {
	Path              string `json:"path"`
	Backend           string `json:"backend"`
	BackendServerCA   string `json:"backend_server_ca"`
	ProxyClientCert   string `json:"proxy_client_cert"`
	ProxyClientKey    string `json:"proxy_client_key"`
	UserHeader        string `json:"user_header"`
	GroupHeader       string `json:"group_header"`
	ExtraHeaderPrefix string `json:"extra_header_prefix"`

	UIDHeader      string `json:"uid_header"`
	Authentication string `json:"authentication"`
	URL            string `json:"url"` // of the mount hosts file
}

func (v *entryValues) fields() map[string]string {
	return map[string]string{
		keyPath: v.Path, keyBackend: v.Backend, keyCA: v.BackendServerCA, keyCert: v.ProxyClientCert, keyKey: v.ProxyClientKey,
		keyUser: v.UserHeader, keyGroup: v.GroupHeader, keyExtra: v.ExtraHeaderPrefix, keyUID: v.UIDHeader, keyAuth: v.Authentication, keyURL: v.URL,
	}
}

// readEntries reads a YAML list of entries that may have the given keys. It warns
// about unknown and duplicate keys. An entry that is not a mapping, or whose values
// are not valid, has an error.
func readEntries(data []byte, keys []string) ([]*entry, error) {
	var doc yamlv3.Node // for lines
	if err := yamlv3.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("it is not YAML: %w", err)
	}
	if len(doc.Content) == 0 {
		return nil, errors.New("the file is empty or has only comments")
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yamlv3.SequenceNode {
		return nil, fmt.Errorf("must be a YAML list of entries with %s and %s; write [] for none", keys[0], keys[1])
	}
	var all []*entry
	usable := true
	for i, node := range doc.Content[0].Content {
		e := &entry{index: i + 1, line: node.Line, keys: keys, fields: map[string]string{}}
		e.look(node)
		usable = usable && len(e.errs) == 0
		all = append(all, e)
	}
	if !usable {
		return all, nil // with what can be said without the library
	}
	var values []entryValues
	if err := yaml.Unmarshal(data, &values); err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", err)
	}
	if len(values) != len(all) {
		return nil, fmt.Errorf("it can be read in two ways: as %d entries and as %d", len(all), len(values))
	}
	for i, e := range all {
		e.fields, e.unread = values[i].fields(), false
	}
	return all, nil
}

// look checks the keys of an entry, except those that it merges in, which belong to another
// entry as well.
func (e *entry) look(node *yamlv3.Node) {
	if node.Kind == yamlv3.AliasNode {
		node = node.Alias
	}
	if node.Kind != yamlv3.MappingNode {
		e.fail("must be a mapping with the keys %s", strings.Join(e.keys, ", "))
		e.unread = true
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if value.Kind == yamlv3.AliasNode {
			value = value.Alias
		}
		name := strings.ToLower(key.Value)
		switch {
		case key.Tag == "!!merge":
			e.unread = true // until the library has read it
		case !slices.Contains(e.keys, name):
			e.warn("line %d: the key %q is unknown and has no effect; known keys are %s", key.Line, key.Value, strings.Join(e.keys, ", "))
		case value.Kind != yamlv3.ScalarNode:
			e.unread = true
			e.fail("line %d: %s must be a string", value.Line, key.Value)
		case seen[name]:
			e.warn("line %d: %s occurs twice, and one of them has no effect; remove it", key.Line, key.Value)
		default:
			// until the values are read, for names
			e.fields[name] = value.Value
		}
		seen[name] = true
	}
}
