X = {
  "a": "{{ b }}",
}
	print(1)  
