{{/* The merged values of one instance as YAML; takes (list $ name). */}}
{{- define "front-proxy.instance" -}}
{{- $root := index . 0 -}}{{- $name := index . 1 -}}
{{- $v := mustMergeOverwrite (mustDeepCopy $root.Values.defaults) (mustDeepCopy (default dict (index $root.Values.instances $name))) -}}
{{- $full := printf "%s-%s" $root.Release.Name $name -}}
{{- if gt (len $full) 41 -}}
{{- fail (printf "the release and the instance make the name %q: at most 41 characters, so that the names of Secrets fit" $full) -}}
{{- end -}}
{{- $_ := set $v "fullname" $full -}}
{{- $selector := dict "app.kubernetes.io/name" "front-proxy" "app.kubernetes.io/instance" $full -}}
{{- $_ := set $v "selector" $selector -}}
{{- $_ := set $v "labels" (merge (dict "app.kubernetes.io/managed-by" $root.Release.Service "helm.sh/chart" (printf "%s-%s" $root.Chart.Name $root.Chart.Version)) $selector) -}}
{{- $s := $v.secrets -}}
{{- range $key, $suffix := dict "tls" "tls" "clientCA" "client-ca" "requestHeaderCA" "requestheader-ca" "requestHeaderClient" "requestheader-client" "serverCA" "server-ca" "rootKubeconfig" "root-kubeconfig" "shardsKubeconfig" "shards-kubeconfig" -}}
{{- if not (index $s $key) -}}{{- $_ := set $s $key (printf "%s-%s" $full $suffix) -}}{{- end -}}
{{- end -}}
{{- if eq $s.requestHeaderCA "-" -}}{{- $_ := set $s "requestHeaderCA" "" -}}{{- end -}}
{{- toYaml $v -}}
{{- end -}}

{{- define "front-proxy.mapping" -}}
{{- if .mapping }}
{{- toYaml .mapping }}
{{- else }}
{{- range $i, $path := list "/clusters/" "/services/" }}
- path: {{ $path }}
  backend: {{ $.kcp.rootURL }}
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
    server: {{ . }}
    {{- end }}
users:
- name: front-proxy-{{ .name }}
  user:
    client-certificate: /etc/front-proxy/{{ .name }}-client/tls.crt
    client-key: /etc/front-proxy/{{ .name }}-client/tls.key
{{- end -}}
