import{l as o}from"./chunk-Z4OUEEMR.js";var n=o(null),p=o(null);export{n as a,p as b};
