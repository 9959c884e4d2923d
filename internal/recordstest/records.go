// Package recordstest is for tests that send what crypto/tls does not send: it writes records of TLS 1.3
// after a handshake that crypto/tls has done.
package recordstest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strings"
)

// What records carry.
const (
	Handshake = 22
	Data      = 23
)

// Whose records are written: labels in a key log (tls.Config.KeyLogWriter).
const (
	Client = "CLIENT_TRAFFIC_SECRET_0"
	Server = "SERVER_TRAFFIC_SECRET_0"
)

// Records writes the records of one side. Nothing else may write on its connection.
type Records struct {
	conn   net.Conn
	secret []byte
	cipher cipher.AEAD
	iv     []byte
	next   uint64
}

// New returns one for the side of conn that has written nothing since its handshake. keyLog is what that wrote
// into its KeyLogWriter. The cipher suite must be TLS_AES_128_GCM_SHA256.
func New(conn net.Conn, keyLog, side string) (*Records, error) {
	_, secret, found := strings.Cut(keyLog, side+" ")
	if !found {
		return nil, fmt.Errorf("the key log has no %s", side)
	}
	_, secret, _ = strings.Cut(secret, " ")
	secret, _, _ = strings.Cut(secret, "\n")
	key, err := hex.DecodeString(secret)
	if err != nil {
		return nil, err
	}
	r := &Records{conn: conn}
	return r, r.use(key)
}

func (r *Records) use(secret []byte) error {
	key, err := expand(secret, "key", 16)
	if err != nil {
		return err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return err
	}
	if r.iv, err = expand(secret, "iv", 12); err != nil {
		return err
	}
	r.secret, r.next = secret, 0
	r.cipher, err = cipher.NewGCM(block)
	return err
}

// expand is HKDF-Expand-Label of RFC 8446, section 7.1.
func expand(secret []byte, label string, size int) ([]byte, error) {
	label = "tls13 " + label
	return hkdf.Expand(sha256.New, secret, string([]byte{0, byte(size), byte(len(label))})+label+"\x00", size) //nolint:gosec // both are small
}

// Write writes b in records of that kind.
func (r *Records) Write(kind byte, b []byte) error {
	for chunk := range slices.Chunk(b, 16<<10) {
		header := binary.BigEndian.AppendUint16([]byte{Data, 3, 3}, uint16(len(chunk)+1+r.cipher.Overhead())) //nolint:gosec // some 16 KiB
		nonce, number := slices.Clone(r.iv), binary.BigEndian.AppendUint64(nil, r.next)
		for i, b := range number {
			nonce[4+i] ^= b
		}
		r.next++
		if _, err := r.conn.Write(r.cipher.Seal(header, nonce, append(slices.Clone(chunk), kind), header)); err != nil {
			return err
		}
	}
	return nil
}

// UpdateKey changes the key, and asks the other side to change its own (RFC 8446, section 4.6.3).
func (r *Records) UpdateKey() error {
	if err := r.Write(Handshake, []byte{24, 0, 0, 1, 1}); err != nil {
		return err
	}
	next, err := expand(r.secret, "traffic upd", 32)
	if err != nil {
		return err
	}
	return r.use(next)
}
