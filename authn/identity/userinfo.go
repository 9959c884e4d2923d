package identity

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// UserInfo is u as Kubernetes' reviews have it; nil for nil.
func UserInfo(u user.Info) *authenticationv1.UserInfo {
	if u == nil {
		return nil
	}
	out := &authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups()}
	for key, values := range u.GetExtra() {
		if out.Extra == nil {
			out.Extra = map[string]authenticationv1.ExtraValue{}
		}
		out.Extra[key] = values
	}
	return out
}

// FromUserInfo is the reverse of UserInfo.
func FromUserInfo(u *authenticationv1.UserInfo) user.Info {
	out := &user.DefaultInfo{Name: u.Username, UID: u.UID, Groups: u.Groups}
	for key, values := range u.Extra {
		if out.Extra == nil {
			out.Extra = map[string][]string{}
		}
		out.Extra[key] = values
	}
	return out
}
