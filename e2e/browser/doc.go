// Package browser has no code, only tests that need a browser: see its test file.
package browser
