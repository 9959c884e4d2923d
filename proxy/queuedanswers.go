package proxy

import "sync"

// queuedAnswers counts the control frames that net/http may have queued: it answers pings, and frames that
// are wrong, and closes the connection only when mostAnswers have queued up for a client that does
// not read. The count may be too high, as not every frame is answered, but not too low.
type queuedAnswers struct {
	mu         sync.Mutex
	frames     int64 // that may be queued
	sinceWrite int64 // frames that were read since the last Write ended
}

const (
	// answerCost is what each queued answer beyond freeAnswers takes, in bytes.
	answerCost  = 100
	freeAnswers = 500
	mostAnswers = 10000
	// http2Buffer is the size of net/http's buffer. It writes less than that only when it has nothing
	// queued.
	http2Buffer = 4 << 10
	// answerSize is more than a control frame has, in bytes. net/http sends those before anything else.
	answerSize = 20
)

// add counts frames that have been read, and returns what the connection is charged, in bytes.
func (q *queuedAnswers) add(frames int64) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frames += frames
	q.sinceWrite += frames
	return max(min(q.frames, mostAnswers)-freeAnswers, 0) * answerCost
}

func (q *queuedAnswers) beginWrite(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if size < http2Buffer {
		q.frames = q.sinceWrite
	}
}

func (q *queuedAnswers) endWrite(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frames = max(q.frames-int64(size/answerSize), 0)
	q.sinceWrite = 0
}
