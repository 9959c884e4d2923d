package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Mount writes files into dir as the kubelet mounts a Secret or a ConfigMap: they
// are links into ..data, which links to a directory and is swapped, so that all
// change at once. Links that there are stay; what they led to is removed.
func Mount(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	data, err := os.MkdirTemp(dir, "..2026_11_23")
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(data, name), content, 0o600); err != nil {
			return fmt.Errorf("mount: %w", err)
		}
	}
	current, next := filepath.Join(dir, "..data"), filepath.Join(dir, "..data_tmp")
	old, _ := os.Readlink(current) // none at first
	if err := os.Symlink(filepath.Base(data), next); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := os.Rename(next, current); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	for name := range files {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("mount: %w", err)
		}
	}
	if old == "" {
		return nil
	}
	return os.RemoveAll(filepath.Join(dir, old))
}
