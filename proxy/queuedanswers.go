package proxy

import "sync"

// queuedAnswers counts the control frames that net/http may have queued: it answers pings, and frames that
// are wrong, and closes the connection only when mostAnswers have queued up for a client that does
// not read. The count may be too high, as not every frame is answered, but not too low.
//
// net/http keeps a queue that has grown as long as the connection. How long it has been is known better
// when nothing is queued: it had no more answers than have been sent.
type queuedAnswers struct {
	mu         sync.Mutex
	frames     int64 // that may be queued
	sinceWrite int64 // frames that were read since the last Write ended
	most       int64 // that frames has been since nothing was queued
	written    int64 // bytes that may have been answers since then
	kept       int64 // how many answers net/http keeps room for
}

const (
	// answerCost is what each answer beyond freeAnswers takes that has been queued at a time, in bytes:
	// 24 for itself, and its place in net/http's two lists, of which one grows while the other is sent.
	answerCost  = 100
	freeAnswers = 500
	mostAnswers = 10000
	// http2Buffer is the size of net/http's buffer. It writes less than that only when it has nothing
	// queued, or to send a GOAWAY; and more only of a large frame, which is no answer.
	http2Buffer = 4 << 10
	// answerSize is more than a control frame has, in bytes, and leastAnswerSize is what it has at least.
	// net/http sends those before anything else.
	answerSize      = 20
	leastAnswerSize = 13
)

// add counts frames that have been read, and returns what the connection is charged, in bytes.
func (q *queuedAnswers) add(frames int64) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frames += frames
	q.sinceWrite += frames
	q.most = max(q.most, q.frames)
	longest := max(q.kept, min(q.most, q.frames+q.written/leastAnswerSize))
	return max(min(longest, mostAnswers)-freeAnswers, 0) * answerCost
}

func (q *queuedAnswers) beginWrite(b []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(b) <= http2Buffer {
		q.written += int64(len(b))
	}
	if len(b) < http2Buffer && !endsInGoAway(b) {
		q.kept = max(q.kept, min(q.most, q.written/leastAnswerSize))
		q.frames, q.most, q.written = q.sinceWrite, q.sinceWrite, 0
	}
}

// endsInGoAway says whether the last frame of b is a GOAWAY. It may take another frame for one.
func endsInGoAway(b []byte) bool {
	const size = 17
	return len(b) >= size && b[len(b)-size+3] == goAwayFrame
}

func (q *queuedAnswers) endWrite(size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.frames = max(q.frames-int64(min(size, http2Buffer)/answerSize), 0)
	q.sinceWrite = 0
}
