package proxy

import "sync"

// queuedControlFrames counts the control frames that net/http may have queued for the client: it answers
// pings, and frames that are wrong, and closes the connection only when maxControlFrames have queued up
// because the client does not read. The count may be too high, as not every frame is answered. It is not
// too low, except that data may be answered with two frames.
//
// net/http keeps a queue that has grown as long as the connection. How long it has been is known better
// when nothing is queued: it had no more frames than have been sent.
type queuedControlFrames struct {
	mu         sync.Mutex
	frames     int64 // that may be queued
	sinceWrite int64 // frames that were read since the last Write ended
	most       int64 // the largest that frames has been since nothing was queued
	written    int64 // bytes sent since then that may have been queued
	kept       int64 // for how many frames net/http keeps room
}

const (
	// controlFrameCost is what each frame in the longest queue takes beyond freeControlFrames, in bytes: 24
	// for itself, and its place in net/http's two lists, of which one grows while the other is sent.
	controlFrameCost  = 100
	freeControlFrames = 500
	maxControlFrames  = 10000
	// http2Buffer is the size of net/http's buffer. It writes less than that only when it has nothing
	// queued, or to send a GOAWAY; and more only of a large frame, which is no control frame.
	http2Buffer = 4 << 10
	// largeControlFrame is more than a control frame has, in bytes, and smallControlFrame what it has at
	// least. net/http sends control frames before anything else.
	largeControlFrame = 20
	smallControlFrame = 13
)

// add counts frames that have been read, and returns what the connection is charged, in bytes.
func (q *queuedControlFrames) add(frames int64) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frames += frames
	q.sinceWrite += frames
	q.most = max(q.most, q.frames)
	longest := max(q.kept, min(q.most, q.frames+q.written/smallControlFrame))
	return max(min(longest, maxControlFrames)-freeControlFrames, 0) * controlFrameCost
}

func (q *queuedControlFrames) beginWrite(b []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(b) <= http2Buffer {
		q.written += int64(len(b))
	}
	if len(b) < http2Buffer && !endsInGoAway(b) {
		q.kept = max(q.kept, min(q.most, q.written/smallControlFrame))
		q.frames, q.most, q.written = q.sinceWrite, q.sinceWrite, 0
	}
}

// endsInGoAway reports whether the last frame of b is a GOAWAY. It may take another frame for one.
func endsInGoAway(b []byte) bool {
	const size = 17
	return len(b) >= size && b[len(b)-size+3] == goAwayFrame
}

func (q *queuedControlFrames) endWrite(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frames = max(q.frames-int64(min(size, http2Buffer)/largeControlFrame), 0)
	q.sinceWrite = 0
}
