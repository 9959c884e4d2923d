package index

// chunkLen is the number of records a slab allocates at once.
const chunkLen = 1 << 12

// slab keeps records in chunks that never move, so that growing copies nothing. IDs
// start at 1 and are reused.
type slab[T any] struct {
	chunks []*[chunkLen]T
	free   []uint32
	last   uint32 // highest ID ever assigned
}

// add returns the ID of a zero record.
func (s *slab[T]) add() uint32 {
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		return id
	}
	s.last++
	if int(s.last/chunkLen) == len(s.chunks) {
		s.chunks = append(s.chunks, new([chunkLen]T))
	}
	return s.last
}

// at returns the record, valid until it is dropped.
func (s *slab[T]) at(id uint32) *T { return &s.chunks[id/chunkLen][id%chunkLen] }

func (s *slab[T]) drop(id uint32) {
	var zero T
	*s.at(id) = zero
	s.free = append(s.free, id)
}
