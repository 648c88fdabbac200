import{l as o}from"./chunk-SV2FJJF3.js";var n=o(null),p=o(null);export{n as a,p as b};
