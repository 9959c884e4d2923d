package issuer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/int128/oauth2dev"

	"frontproxy/internal/login/tokencache"
)

// Device logs in through the device flow. show receives the page to open on any
// device, with the code to type there, or a page whose address contains the code.
func (i *Issuer) Device(ctx context.Context, show func(page, code string)) (*tokencache.Tokens, error) {
	if i.device == "" {
		return nil, fmt.Errorf("the issuer %s does not support logging in on another device; leave out --device", i.tuple.Issuer)
	}
	ctx = i.context(ctx)
	config := i.oauth
	config.Endpoint.AuthURL = i.device
	answer, err := oauth2dev.RetrieveCode(ctx, config)
	if err != nil {
		return nil, i.deviceFailed(err)
	}
	if answer.ExpiresIn > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(answer.ExpiresIn)*time.Second)
		defer cancel()
	}
	show(Printable(answer.URL()), Printable(answer.UserCode))
	token, err := oauth2dev.PollToken(ctx, config, *answer)
	if err != nil {
		return nil, i.deviceFailed(err)
	}
	return i.accept(ctx, token, "")
}

// deviceFailed converts oauth2dev's errors to those of this package.
func (i *Issuer) deviceFailed(err error) error {
	var start oauth2dev.AuthorizationErrorResponse
	var poll oauth2dev.TokenErrorResponse
	const doing = "log in by another device"
	switch {
	case errors.As(err, &start) && start.ErrorCode != "":
		return refusal{i.tuple.Issuer, doing, start.ErrorCode, start.ErrorDescription, err}
	case errors.As(err, &poll) && poll.ErrorCode != "":
		return refusal{i.tuple.Issuer, doing, poll.ErrorCode, poll.ErrorDescription, err}
	case errors.Is(err, context.DeadlineExceeded):
		return refusal{i.tuple.Issuer, doing, "expired_token", "", err}
	}
	return fmt.Errorf("could not %s at the issuer %s: %w", doing, i.tuple.Issuer, err)
}
