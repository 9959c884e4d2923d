// Package tokenreview reads TokenReviews out of requests and writes them into answers, as a
// kube-apiserver does: in JSON and in Kubernetes' protobuf, of authentication.k8s.io/v1.
//
// It must not know who asks, nor what becomes of the token. No error that it returns holds a
// part of the body, but for names of fields.
package tokenreview
