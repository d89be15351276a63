// CloudFront Function (runtime cloudfront-js-2.0), viewer request of the REST API.
//
// API Gateway answers to its own host name only, so the one that the viewer asked
// for goes on in a header of ours; functions/routes/addresses.py reads it. What the
// viewer wrote there himself never goes on.

var HEADER = "x-clearstem-host";

function handler(event) {
  var headers = event.request.headers;
  delete headers[HEADER];
  if (headers.host) {
    headers[HEADER] = { value: headers.host.value };
  }
  return event.request;
}
