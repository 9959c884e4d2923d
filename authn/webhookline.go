package authn

import (
	"errors"
	"fmt"
	"sync"
)

// errAbandoned ends a question that nobody waits for any more.
var errAbandoned = errors.New("nobody waits for the answer")

// webhookLine has the questions under way or waiting their turn, one for each
// token, and bounds them and those who wait. The zero value works.
//
// A question that waits ends with the last who wants its answer; one that was
// sent does not, so that impatient clients find the answer when they come again.
type webhookLine struct {
	mu        sync.Mutex // guards what follows, and waiters and sent of the questions
	questions map[digest]*webhookQuestion
	waiters   int
}

// webhookQuestion is about one token. answer and err may be read when done is
// closed.
type webhookQuestion struct {
	done, abandoned chan struct{}
	answer          webhookAnswer
	err             error

	waiters int
	sent    bool
}

// join returns the question about a token, and whether it is new: then the
// caller has it answered. Everyone calls leave who got no error.
func (l *webhookLine) join(key digest) (q *webhookQuestion, first bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiters >= webhookWaiters {
		return nil, false, fmt.Errorf("%d requests wait for its answers already", webhookWaiters)
	}
	q = l.questions[key]
	if first = q == nil; first {
		if len(l.questions) >= webhookQuestions {
			return nil, false, fmt.Errorf("%d questions to it are under way or wait already", webhookQuestions)
		}
		q = &webhookQuestion{done: make(chan struct{}), abandoned: make(chan struct{})}
		if l.questions == nil {
			l.questions = map[digest]*webhookQuestion{}
		}
		l.questions[key] = q
	}
	q.waiters++
	l.waiters++
	return q, first, nil
}

// crowded says that half of the room for questions is taken.
func (l *webhookLine) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.questions) >= webhookQuestions/2
}

func (l *webhookLine) leave(key digest, q *webhookQuestion) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiters--
	if q.waiters--; q.waiters == 0 && !q.sent && l.questions[key] == q {
		delete(l.questions, key)
		close(q.abandoned)
	}
}

// start says whether anybody still waits: then the question is to be sent.
func (l *webhookLine) start(q *webhookQuestion) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	q.sent = q.waiters > 0
	return q.sent
}

// end gives those who wait their answer.
func (l *webhookLine) end(key digest, q *webhookQuestion, a webhookAnswer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.questions[key] == q {
		delete(l.questions, key)
	}
	q.answer, q.err = a, err
	close(q.done)
}
