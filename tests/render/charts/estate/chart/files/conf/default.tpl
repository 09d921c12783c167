server {
  listen {{ .Values.nextcloud.containerPort }};
  server_name {{ .Values.nextcloud.host | quote }};
  location ~ \.php(?:$|/) { set $path_info $fastcgi_path_info; }
}
