{{/* Values laid over others, as YAML; takes (list base over). Maps are merged; anything else
     replaces, false and empty lists included; null removes. */}}
{{- define "front-proxy.overlay" -}}
{{- $out := mustDeepCopy (index . 0) -}}
{{- range $key, $value := index . 1 -}}
{{- if kindIs "invalid" $value -}}
{{- $_ := unset $out $key -}}
{{- else if and (kindIs "map" $value) (kindIs "map" (get $out $key)) -}}
{{- $_ := set $out $key (include "front-proxy.overlay" (list (get $out $key) $value) | fromYaml) -}}
{{- else -}}
{{- $_ := set $out $key $value -}}
{{- end -}}
{{- end -}}
{{- toYaml $out -}}
{{- end -}}

{{/* <release>-<name>, or the release's own name for the instance front-proxy of a release that has
     front-proxy in its name; takes (list $ name). */}}
{{- define "front-proxy.name" -}}
{{- $root := index . 0 -}}{{- $name := index . 1 -}}
{{- if and (eq $name $root.Chart.Name) (contains $name $root.Release.Name) -}}
{{- $root.Release.Name -}}
{{- else -}}
{{- printf "%s-%s" $root.Release.Name $name -}}
{{- end -}}
{{- end -}}

{{/* The values of one instance as YAML, with its names and labels; takes (list $ name). */}}
{{- define "front-proxy.instance" -}}
{{- $root := index . 0 -}}{{- $name := index . 1 -}}
{{- $v := include "front-proxy.overlay" (list $root.Values.defaults (default dict (index $root.Values.instances $name))) | fromYaml -}}
{{- $full := default (include "front-proxy.name" (list $root (default $name $v.nameOverride))) $v.fullnameOverride -}}
{{- if gt (len $full) 41 -}}
{{- fail (printf "instance %q: the name %q has more than 41 characters, so that the names of Secrets do not fit" $name $full) -}}
{{- end -}}
{{- $_ := set $v "fullname" $full -}}
{{- $selector := dict "app.kubernetes.io/name" "front-proxy" "app.kubernetes.io/instance" $full -}}
{{- $_ := set $v "selector" $selector -}}
{{- $_ := set $v "labels" (merge (dict) $selector (include "front-proxy.labels" $root | fromYaml)) -}}
{{- $s := $v.secrets -}}
{{- range $key, $suffix := dict "tls" "tls" "clientCA" "client-ca" "requestHeaderCA" "requestheader-ca" "requestHeaderClient" "requestheader-client" "serverCA" "server-ca" "rootKubeconfig" "root-kubeconfig" "shardsKubeconfig" "shards-kubeconfig" -}}
{{- if not (index $s $key) -}}{{- $_ := set $s $key (printf "%s-%s" $full $suffix) -}}{{- end -}}
{{- end -}}
{{- if eq $s.requestHeaderCA "-" -}}{{- $_ := set $s "requestHeaderCA" "" -}}{{- end -}}
{{- $_ := set $v "hasPublicIssuer" (and $v.certManager.enabled (ne $v.certManager.publicIssuer.name "")) -}}
{{- if and $v.hasPublicIssuer (not $s.publicTLS) -}}{{- $_ := set $s "publicTLS" (printf "%s-public-tls" $full) -}}{{- end -}}
{{- $_ := set $v "serviceAccountName" (default (ternary $full "default" $v.serviceAccount.create) $v.serviceAccount.name) -}}
{{- include "front-proxy.validate" (list $name $v) -}}
{{- toYaml $v -}}
{{- end -}}

{{/* Fails for values that the schema takes and that cannot work together. */}}
{{- define "front-proxy.validate" -}}
{{- $name := index . 0 -}}{{- $v := index . 1 -}}
{{- if and (or $v.ingress.enabled $v.tlsRoute.enabled $v.hasPublicIssuer) (not $v.hostnames) -}}
{{- fail (printf "instance %q: an Ingress, a TLSRoute and a public certificate need hostnames" $name) -}}
{{- end -}}
{{- if and $v.tlsRoute.enabled (not $v.tlsRoute.parentRefs) -}}
{{- fail (printf "instance %q: set tlsRoute.parentRefs to the Gateway" $name) -}}
{{- end -}}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.minReplicas) (int $v.autoscaling.maxReplicas)) -}}
{{- fail (printf "instance %q: autoscaling.minReplicas exceeds maxReplicas" $name) -}}
{{- end -}}
{{- $m := $v.serviceMonitor -}}
{{- if and $m.enabled (not $m.ca.secret) (not $m.ca.configMap) (or $m.namespace (not $v.certManager.enabled)) -}}
{{- fail (printf "instance %q: set serviceMonitor.ca to the CA of the serving certificate: without cert-manager no Secret is known to have it, and the operator reads it in the ServiceMonitor's own namespace" $name) -}}
{{- end -}}
{{- end -}}

{{/* Fails if two instances, or the accounts of two, have the same name. */}}
{{- define "front-proxy.names" -}}
{{- $seen := dict -}}
{{- range $name, $_ := .Values.instances -}}
{{- $v := include "front-proxy.instance" (list $ $name) | fromYaml -}}
{{- $names := list (printf "instance %s" $v.fullname) -}}
{{- if $v.serviceAccount.create -}}{{- $names = append $names (printf "service account %s" $v.serviceAccountName) -}}{{- end -}}
{{- range $names -}}
{{- if hasKey $seen . -}}
{{- fail (printf "%q and %q both make the %s: set names in one instance, not in defaults" (get $seen .) $name .) -}}
{{- end -}}
{{- $_ := set $seen . $name -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of all objects; those that select pods are added for an instance's. */}}
{{- define "front-proxy.labels" -}}
{{- toYaml (merge (dict "app.kubernetes.io/managed-by" .Release.Service "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_" | trunc 63) "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63)) .Values.commonLabels) -}}
{{- end -}}

{{/* Labels of objects that belong to no instance: the PrometheusRule and the dashboards. */}}
{{- define "front-proxy.releaseLabels" -}}
{{- toYaml (merge (dict "app.kubernetes.io/name" "front-proxy" "app.kubernetes.io/instance" .Release.Name) (include "front-proxy.labels" . | fromYaml)) -}}
{{- end -}}

{{- define "front-proxy.mapping" -}}
{{- if .mapping }}
{{- toYaml .mapping }}
{{- else }}
{{- range $i, $path := list "/clusters/" "/services/" }}
- path: {{ $path }}
  backend: {{ $.kcp.rootURL | quote }}
  backend_server_ca: /etc/front-proxy/server-ca/tls.crt
  proxy_client_cert: /etc/front-proxy/requestheader-client/tls.crt
  proxy_client_key: /etc/front-proxy/requestheader-client/tls.key
{{- end }}
{{- end }}
{{- end -}}

{{/* A kubeconfig with mounted certificates: name, server (or none). */}}
{{- define "front-proxy.kubeconfig" -}}
apiVersion: v1
kind: Config
current-context: {{ .name }}
contexts:
- {name: {{ .name }}, context: {cluster: {{ .name }}, user: front-proxy-{{ .name }}}}
clusters:
- name: {{ .name }}
  cluster:
    certificate-authority: /etc/front-proxy/server-ca/tls.crt
    {{- with .server }}
    server: {{ . | quote }}
    {{- end }}
users:
- name: front-proxy-{{ .name }}
  user:
    client-certificate: /etc/front-proxy/{{ .name }}-client/tls.crt
    client-key: /etc/front-proxy/{{ .name }}-client/tls.key
{{- end -}}

{{/* The image with its tag and digest; takes (list $ instance). */}}
{{- define "front-proxy.image" -}}
{{- $image := (index . 1).image -}}
{{- $image.repository -}}:{{- default (index . 0).Chart.AppVersion $image.tag -}}
{{- with $image.digest -}}@{{- . -}}{{- end -}}
{{- end -}}

{{/* The flags of an instance, one a line. */}}
{{- define "front-proxy.args" -}}
- --secure-port=6443
- --shutdown-delay-duration={{ .shutdownDelay }}
- --mapping-file=/etc/front-proxy/config/mapping.yaml
- --root-kubeconfig=/etc/front-proxy/root-kubeconfig/kubeconfig
- --shards-kubeconfig=/etc/front-proxy/shards-kubeconfig/kubeconfig
- --tls-cert-file=/etc/front-proxy/tls/tls.crt
- --tls-private-key-file=/etc/front-proxy/tls/tls.key
{{- if .secrets.publicTLS }}
- --tls-sni-cert-key=/etc/front-proxy/public-tls/tls.crt,/etc/front-proxy/public-tls/tls.key
{{- end }}
- --client-ca-file=/etc/front-proxy/client-ca/tls.crt
{{- if .secrets.requestHeaderCA }}
- --requestheader-client-ca-file=/etc/front-proxy/requestheader-ca/tls.crt
- --requestheader-allowed-names=kcp-mounts-proxy
- --requestheader-username-headers=X-Remote-User
- --requestheader-group-headers=X-Remote-Group
- --requestheader-extra-headers-prefix=X-Remote-Extra-
{{- end }}
{{- if .debugSocket.enabled }}
- --debug-address=unix:///run/front-proxy/debug.sock
{{- end }}
{{- range $bucket, $rate := omit .rates "dryRun" }}
{{- if not (kindIs "invalid" $rate.perSecond) }}
- --{{ $bucket }}-requests-per-second={{ $rate.perSecond }}
{{- end }}
{{- if not (kindIs "invalid" $rate.burst) }}
- --{{ $bucket }}-requests-burst={{ $rate.burst | int64 }}
{{- end }}
{{- end }}
{{- if .rates.dryRun }}
- --rate-limit-dry-run
{{- end }}
{{- with .proxyProtocolTrustedCIDRs }}
- --proxy-protocol-trusted-cidrs={{ join "," . }}
{{- end }}
{{- if .featureGates }}
{{- $gates := list }}
{{- range $gate, $on := .featureGates }}{{ $gates = append $gates (printf "%s=%t" $gate $on) }}{{ end }}
- --feature-gates={{ join "," $gates }}
{{- end }}
{{- if .mountHosts }}
- --mount-hosts-file=/etc/front-proxy/config/mount-hosts.yaml
{{- end }}
{{- range .extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* The Secrets that an instance mounts, as YAML: {secrets: [{name, secret, keys}]}. Of the CAs only
     the certificate is mounted, so that the Secret may be the one in which the CA's key is, too. */}}
{{- define "front-proxy.secretVolumes" -}}
{{- $all := list
  (dict "name" "root-kubeconfig" "secret" .secrets.rootKubeconfig)
  (dict "name" "shards-kubeconfig" "secret" .secrets.shardsKubeconfig)
  (dict "name" "tls" "secret" .secrets.tls)
  (dict "name" "public-tls" "secret" .secrets.publicTLS)
  (dict "name" "client-ca" "secret" .secrets.clientCA "keys" (list "tls.crt"))
  (dict "name" "requestheader-ca" "secret" .secrets.requestHeaderCA "keys" (list "tls.crt"))
  (dict "name" "requestheader-client" "secret" .secrets.requestHeaderClient)
  (dict "name" "server-ca" "secret" .secrets.serverCA "keys" (list "tls.crt")) -}}
{{- if .certManager.enabled -}}
{{- $all = concat $all (list
  (dict "name" "root-client" "secret" (printf "%s-root-client" .fullname))
  (dict "name" "shards-client" "secret" (printf "%s-shards-client" .fullname))) -}}
{{- end -}}
secrets:
{{- range $all }}
{{- if .secret }}
- {{ toJson . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "front-proxy.volumeMounts" -}}
- {name: config, mountPath: /etc/front-proxy/config, readOnly: true}
{{- range (include "front-proxy.secretVolumes" . | fromYaml).secrets }}
- {name: {{ .name }}, mountPath: /etc/front-proxy/{{ .name }}, readOnly: true}
{{- end }}
{{- range .files }}
- {name: {{ .name }}, mountPath: /etc/front-proxy/{{ .name }}, readOnly: true}
{{- end }}
{{- if .debugSocket.enabled }}
- {name: run, mountPath: /run/front-proxy}
{{- end }}
{{- with .extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "front-proxy.volumes" -}}
- {name: config, configMap: {name: {{ .fullname }}-routing}}
{{- range (include "front-proxy.secretVolumes" . | fromYaml).secrets }}
{{- if .keys }}
- name: {{ .name }}
  secret:
    secretName: {{ .secret | quote }}
    defaultMode: 0440
    items:
    {{- range .keys }}
    - {key: {{ . }}, path: {{ . }}}
    {{- end }}
{{- else }}
- {name: {{ .name }}, secret: {secretName: {{ .secret | quote }}, defaultMode: 0440}}
{{- end }}
{{- end }}
{{- range .files }}
{{- if .secret }}
- {name: {{ .name }}, secret: {secretName: {{ .secret | quote }}, defaultMode: 0440}}
{{- else }}
- {name: {{ .name }}, configMap: {name: {{ .configMap }}}}
{{- end }}
{{- end }}
{{- if .debugSocket.enabled }}
- {name: run, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
{{- end }}
{{- with .extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What the instance's pods and those of helm test have in common, below spec. */}}
{{- define "front-proxy.podSpec" -}}
serviceAccountName: {{ .serviceAccountName }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- range $key := list "imagePullSecrets" "priorityClassName" "nodeSelector" "tolerations" "hostAliases" "dnsPolicy" "dnsConfig" }}
{{- with index $ $key }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- with .podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A probe that asks for a path, unless it says itself what it does; takes (list probe path). */}}
{{- define "front-proxy.probe" -}}
{{- $probe := index . 0 -}}
{{- if not (or $probe.httpGet $probe.tcpSocket $probe.exec $probe.grpc) }}
httpGet: {path: {{ index . 1 }}, port: https, scheme: HTTPS}
{{- end }}
{{ toYaml $probe }}
{{- end -}}

{{/* name and namespace of the objects of the release; takes (list $ suffix namespace). */}}
{{- define "front-proxy.releaseMetadata" -}}
{{- $root := index . 0 -}}
name: {{ include "front-proxy.name" (list $root $root.Chart.Name) }}{{ index . 1 }}
namespace: {{ default $root.Release.Namespace (index . 2) }}
{{- end -}}
