package tokenreview

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strconv"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversionscheme "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"

	"frontproxy/internal/clip"
	"frontproxy/proxy/apistatus"
)

// Resource is what is created.
var Resource = authenticationv1.SchemeGroupVersion.WithResource("tokenreviews").GroupResource()

var kind = authenticationv1.SchemeGroupVersion.WithKind("TokenReview")

// Bounds, in bytes: of a query, which an answer may quote, and of what an answer quotes of the
// names of unknown fields.
const maxQuery, maxFieldNames = 4 << 10, 1 << 10

// Codec reads and writes. Immutable.
type Codec struct{ runtime.NegotiatedSerializer }

// NewCodec makes a Codec.
func NewCodec() (Codec, error) {
	scheme := runtime.NewScheme()
	err := authenticationv1.AddToScheme(scheme)
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return Codec{serializer.NewCodecFactory(scheme)}, err
}

// SupportedMediaTypes are JSON, the default, and protobuf: what Kubernetes' clients send.
func (c Codec) SupportedMediaTypes() []runtime.SerializerInfo {
	return slices.DeleteFunc(c.NegotiatedSerializer.SupportedMediaTypes(), func(i runtime.SerializerInfo) bool {
		return i.MediaType != runtime.ContentTypeJSON && i.MediaType != runtime.ContentTypeProtobuf
	})
}

// Negotiated is how one request is read and answered.
type Negotiated struct {
	codec   Codec
	in, out runtime.SerializerInfo
	strict  bool
}

// Negotiate looks at a request's headers and query. The Status, unless nil, refuses them: 406,
// 415, 400 or 422.
func (c Codec) Negotiate(r *http.Request) (*Negotiated, *metav1.Status) {
	n := &Negotiated{codec: c}
	var err error
	if _, n.out, err = negotiation.NegotiateOutputMediaType(r, c, negotiation.DefaultEndpointRestrictions); err != nil {
		return nil, statusOf(err)
	}
	if n.in, err = negotiation.NegotiateInputSerializer(r, false, c); err != nil {
		return nil, statusOf(err)
	}
	if len(r.URL.RawQuery) > maxQuery {
		return nil, apistatus.BadRequest("the query has more than %d bytes", maxQuery)
	}
	var options metav1.CreateOptions
	if err := metainternalversionscheme.ParameterCodec.DecodeParameters(r.URL.Query(), metav1.SchemeGroupVersion, &options); err != nil {
		return nil, apistatus.BadRequest("the query is not one of a creation")
	}
	if errs := metavalidation.ValidateCreateOptions(&options); len(errs) > 0 {
		return nil, statusOf(apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "CreateOptions"}, "", errs))
	}
	n.strict = options.FieldValidation == metav1.FieldValidationStrict
	return n, nil
}

// statusOf is the Status that an error of Kubernetes' own is.
func statusOf(err error) *metav1.Status {
	status := apierrors.APIStatus(nil)
	if !errors.As(err, &status) {
		return apistatus.InternalError()
	}
	s := status.Status()
	return &s
}

// Read reads the body of a request. What it says of the status is dropped: that is the
// answer's. The Status, unless nil, is a 400.
func (n *Negotiated) Read(body []byte) (*authenticationv1.TokenReview, *metav1.Status) {
	decoder := n.in.Serializer
	if n.strict {
		decoder = n.in.StrictSerializer
	}
	defaults := kind
	object, got, err := n.codec.DecoderToVersion(decoder, kind.GroupVersion()).Decode(body, &defaults, &authenticationv1.TokenReview{})
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		return nil, apistatus.BadRequest("%s", clip.Clone(strict.Error(), maxFieldNames))
	}
	review, ok := object.(*authenticationv1.TokenReview)
	switch {
	case err != nil || !ok || got == nil || *got != kind: // the error may quote the body
		return nil, apistatus.BadRequest("the body is not a TokenReview of %s", kind.GroupVersion())
	case review.Namespace != "":
		return nil, apistatus.BadRequest("a TokenReview is in no namespace")
	case review.Spec.Token == "":
		return nil, apistatus.BadRequest("token is required for TokenReview in authentication")
	}
	review.Status = authenticationv1.TokenReviewStatus{}
	return review, nil
}

// Write answers with the review, as created.
func (n *Negotiated) Write(w http.ResponseWriter, review *authenticationv1.TokenReview) error {
	review.SetGroupVersionKind(kind)
	var body bytes.Buffer
	if err := n.codec.EncoderForVersion(n.out.Serializer, kind.GroupVersion()).Encode(review, &body); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", n.out.MediaType)
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	h.Set("Cache-Control", "no-cache, private")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusCreated)
	_, _ = w.Write(body.Bytes()) // a client that is gone needs no answer
	return nil
}
